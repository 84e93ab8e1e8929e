// The GKES member of a group whose members come and go: sleeps in its handler and writes when each record ended.
// Settings are name=value words; see e2e/bench/src/moves.rs.
package main

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/aws/go-kafka-event-source/streams"
	"github.com/twmb/franz-go/pkg/kgo"
)

type place struct {
	partition int32
	offset    int64
}

func work(members []string) {
	words := readSettings(members)
	handler, partitions := words.milliseconds("handler_ms"), int(words.number("partitions"))
	log, err := os.OpenFile(words["log"], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	var lock sync.Mutex
	handle := func(_ string, at place) error {
		time.Sleep(handler)
		lock.Lock()
		defer lock.Unlock()
		_, err := fmt.Fprintf(log, `{"step":"ended","verdict":"done","partition":%d,"offset":%d,"wallMs":%d}`+"\n",
			at.partition, at.offset, time.Now().UnixMilli())
		return err
	}
	streams.InitLogger(streams.SimpleLogger(streams.LogLevelError), streams.LogLevelError)
	config := streams.EventSourceConfig{
		GroupId: words["group"], Topic: words["topic"], NumPartitions: partitions,
		SourceCluster: streams.SimpleCluster([]string{words["bootstrap"]}), CommitLogPartitions: 4,
	}
	var scheduler *streams.AsyncJobScheduler[store, string, place]
	source, err := streams.NewEventSource(config,
		func(streams.TopicPartition) store { return store{} },
		func(ec *streams.EventContext[store], record streams.IncomingRecord) streams.ExecutionState {
			return scheduler.Schedule(ec, string(record.Key()), place{record.TopicPartition().Partition, record.Offset()})
		},
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		panic(err)
	}
	scheduler, err = streams.CreateAsyncJobScheduler(source, handle, nil,
		streams.SchedulerConfig{Concurrency: 64, WorkerQueueDepth: 100, MaxConcurrentKeys: 10000})
	if err != nil {
		panic(err)
	}
	source.ConsumeEvents()
	source.WaitForSignals(nil, syscall.SIGTERM)
}
