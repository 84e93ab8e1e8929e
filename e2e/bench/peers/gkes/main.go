// The GKES contender: sleeps in its handler, counts, checks each key's order, says so at the end.
// Settings are name=value words; see e2e/bench/src/child.rs for what is printed and when.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/go-kafka-event-source/streams"
	"github.com/twmb/franz-go/pkg/kgo"
)

const keys = 1000

type store struct{}

func (store) ReceiveChange(streams.IncomingRecord) error { return nil }
func (store) Revoked()                                   {}

type task struct {
	words                   settings
	handler, window, warmUp time.Duration
	partitions, concurrency int
	records                 int64
}

type settings map[string]string

func readSettings(words []string) settings {
	s := settings{}
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		s[name] = value
	}
	return s
}

func (s settings) number(name string) int64 {
	n, err := strconv.ParseInt(s[name], 10, 64)
	if err != nil {
		panic(fmt.Sprintf("failed to read %s: %v", name, err))
	}
	return n
}

func (s settings) milliseconds(name string) time.Duration {
	return time.Duration(s.number(name)) * time.Millisecond
}

func readTask(words []string) task {
	t := task{words: readSettings(words)}
	number, milliseconds := t.words.number, t.words.milliseconds
	t.handler, t.window, t.warmUp = milliseconds("handler_ms"), milliseconds("window_ms"), milliseconds("warm_up_ms")
	t.partitions, t.concurrency, t.records = int(number("partitions")), int(number("concurrency")), number("records")
	return t
}

// meter counts as e2e/bench/src/meter.rs does.
type meter struct {
	task                                              task
	first                                             atomic.Int64
	next                                              [keys]atomic.Int64
	busy                                              [keys]atomic.Int32
	begun, ended, most, violations, handlerNanosecond atomic.Int64
	lock                                              sync.Mutex
	latencies                                         []int64
}

func decimal(digits []byte) int64 {
	var sum int64
	for _, digit := range digits {
		sum = sum*10 + int64(digit-'0')
	}
	return sum
}

func (m *meter) handle(key string, value []byte) {
	k, number := decimal([]byte(key)[4:])%keys, decimal(value[:10])
	if m.busy[k].Add(1) != 1 || m.next[k].Load() != number {
		m.violations.Add(1)
	}
	begun := m.begun.Add(1)
	if begun == 1 {
		m.first.Store(time.Now().UnixNano())
	}
	for now, most := begun-m.ended.Load(), m.most.Load(); now > most && !m.most.CompareAndSwap(most, now); {
		most = m.most.Load()
	}
	if m.task.warmUp > 0 {
		m.noteLatency(value)
	}
	if m.task.handler > 0 {
		at := time.Now()
		time.Sleep(m.task.handler)
		m.handlerNanosecond.Add(int64(time.Since(at)))
	}
	m.next[k].Store(number + 1)
	m.busy[k].Add(-1)
	m.ended.Add(1)
}

func (m *meter) noteLatency(value []byte) {
	now := time.Now()
	if first := m.first.Load(); first > 0 && now.UnixNano()-first > int64(m.task.warmUp) {
		m.lock.Lock()
		m.latencies = append(m.latencies, now.UnixMicro()-decimal(value[11:27]))
		m.lock.Unlock()
	}
}

func (m *meter) watch() {
	for m.first.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	fmt.Println(`{"started":true}`)
	var half int64
	halved := false
	for {
		elapsed, ended := time.Duration(time.Now().UnixNano()-m.first.Load()), m.ended.Load()
		if !halved && elapsed >= m.task.window/2 {
			half, halved = ended, true
		}
		if elapsed >= m.task.window || m.task.records > 0 && ended >= m.task.records {
			m.say(elapsed, ended, half)
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func (m *meter) say(elapsed time.Duration, ended, half int64) {
	said := map[string]any{
		"records": ended, "seconds": elapsed.Seconds(), "second_half": ended - half,
		"violations": m.violations.Load(), "most_at_once": m.most.Load(),
		"handler_ms": float64(m.handlerNanosecond.Load()) / 1e6 / float64(max(ended, 1)),
	}
	m.lock.Lock()
	if n := len(m.latencies); n > 0 {
		sort.Slice(m.latencies, func(i, j int) bool { return m.latencies[i] < m.latencies[j] })
		at := func(share float64) float64 { return float64(m.latencies[int(float64(n-1)*share)]) / 1e3 }
		said["latency_ms"] = []float64{at(0.5), at(0.99), at(1)}
	}
	m.lock.Unlock()
	line, err := json.Marshal(said)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

func main() {
	if members := os.Args[1:]; slices.ContainsFunc(members, func(w string) bool { return strings.HasPrefix(w, "log=") }) {
		work(members)
		return
	}
	t := readTask(os.Args[1:])
	m := &meter{task: t}
	go m.watch()
	streams.InitLogger(streams.SimpleLogger(streams.LogLevelError), streams.LogLevelError)
	config := streams.EventSourceConfig{
		GroupId: t.words["group"], Topic: t.words["topic"], NumPartitions: t.partitions,
		SourceCluster: streams.SimpleCluster([]string{t.words["bootstrap"]}), CommitLogPartitions: 4,
	}
	if t.words["setting"] == "tuned" {
		config.EosConfig = streams.EosConfig{PoolSize: 3, PendingTxnCount: 1, TargetBatchSize: 10000,
			MaxBatchSize: 50000, BatchDelay: 10 * time.Millisecond}
	}
	var scheduler *streams.AsyncJobScheduler[store, string, []byte]
	source, err := streams.NewEventSource(config,
		func(streams.TopicPartition) store { return store{} },
		func(ec *streams.EventContext[store], record streams.IncomingRecord) streams.ExecutionState {
			return scheduler.Schedule(ec, string(record.Key()), record.Value())
		},
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		panic(err)
	}
	scheduler, err = streams.CreateAsyncJobScheduler(source,
		func(key string, value []byte) error { m.handle(key, value); return nil }, nil,
		streams.SchedulerConfig{Concurrency: t.concurrency, WorkerQueueDepth: 100, MaxConcurrentKeys: 10000})
	if err != nil {
		panic(err)
	}
	source.ConsumeEvents()
	select {}
}
