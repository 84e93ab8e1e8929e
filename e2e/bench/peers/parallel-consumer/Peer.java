// The Parallel Consumer contender: sleeps in its handler, counts, checks each key's order, says so at the end.
// Settings are name=value words; see e2e/bench/src/child.rs for what is printed and when.

import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.ParallelStreamProcessor;
import io.confluent.parallelconsumer.vertx.VertxParallelEoSStreamProcessor;
import io.vertx.core.Future;
import io.vertx.core.Promise;
import io.vertx.core.Vertx;
import io.vertx.ext.web.client.WebClient;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicLongArray;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public final class Peer {
  private static final int KEYS = 1000;

  private final Map<String, String> words = new HashMap<>();
  private final long handlerMs;
  private final long windowNs;
  private final long warmUpNs;
  private final long records;

  // Counts as e2e/bench/src/meter.rs does.
  private final AtomicLong first = new AtomicLong();
  private final AtomicLongArray next = new AtomicLongArray(KEYS);
  private final AtomicIntegerArray busy = new AtomicIntegerArray(KEYS);
  private final AtomicLong begun = new AtomicLong();
  private final AtomicLong ended = new AtomicLong();
  private final AtomicLong most = new AtomicLong();
  private final AtomicLong violations = new AtomicLong();
  private final AtomicLong handlerNs = new AtomicLong();
  private final long[] latencies;
  private final AtomicLong noted = new AtomicLong();

  private record Begun(int key, long number, long at) {}

  private Peer(String[] args) {
    for (String word : args) {
      String[] pair = word.split("=", 2);
      words.put(pair[0], pair[1]);
    }
    handlerMs = number("handler_ms");
    windowNs = number("window_ms") * 1_000_000;
    warmUpNs = number("warm_up_ms") * 1_000_000;
    records = number("records");
    latencies = new long[warmUpNs > 0 ? 4_000_000 : 0];
  }

  private long number(String name) {
    return Long.parseLong(words.get(name));
  }

  private static long decimal(byte[] text, int from, int to) {
    long sum = 0;
    for (int at = from; at < to; at++) sum = sum * 10 + text[at] - '0';
    return sum;
  }

  private Begun begin(ConsumerRecord<byte[], byte[]> record) {
    int key = (int) (decimal(record.key(), 4, record.key().length) % KEYS);
    long number = decimal(record.value(), 0, 10);
    if (busy.incrementAndGet(key) != 1 || next.get(key) != number) violations.incrementAndGet();
    long count = begun.incrementAndGet();
    long now = System.nanoTime();
    if (count == 1) first.set(now);
    long together = count - ended.get();
    if (together > most.get()) most.accumulateAndGet(together, Math::max);
    if (warmUpNs > 0 && first.get() != 0 && now - first.get() > warmUpNs) note(record.value());
    return new Begun(key, number, now);
  }

  private void note(byte[] value) {
    var instant = java.time.Instant.now();
    long micros = instant.getEpochSecond() * 1_000_000 + instant.getNano() / 1_000;
    long at = noted.getAndIncrement();
    if (at < latencies.length) latencies[(int) at] = micros - decimal(value, 11, 27);
  }

  private void end(Begun one) {
    if (handlerMs > 0) handlerNs.addAndGet(System.nanoTime() - one.at());
    next.set(one.key(), one.number() + 1);
    busy.decrementAndGet(one.key());
    ended.incrementAndGet();
  }

  private void watch() throws InterruptedException {
    while (first.get() == 0) Thread.sleep(1);
    System.out.println("{\"started\":true}");
    long half = 0;
    boolean halved = false;
    while (true) {
      long elapsed = System.nanoTime() - first.get();
      long done = ended.get();
      if (!halved && elapsed >= windowNs / 2) {
        half = done;
        halved = true;
      }
      if (elapsed >= windowNs || records > 0 && done >= records) {
        say(elapsed, done, half);
        return;
      }
      Thread.sleep(1);
    }
  }

  private void say(long elapsed, long done, long half) {
    String late = "null";
    int n = (int) Math.min(noted.get(), latencies.length);
    if (n > 0) {
      long[] sorted = Arrays.copyOf(latencies, n);
      Arrays.sort(sorted);
      late = String.format(Locale.ROOT, "[%f,%f,%f]", sorted[(n - 1) / 2] / 1e3,
          sorted[(int) ((n - 1) * 0.99)] / 1e3, sorted[n - 1] / 1e3);
    }
    System.out.println(String.format(Locale.ROOT,
        "{\"records\":%d,\"seconds\":%f,\"second_half\":%d,\"violations\":%d,\"most_at_once\":%d,"
            + "\"handler_ms\":%f,\"latency_ms\":%s}",
        done, elapsed / 1e9, done - half, violations.get(), most.get(),
        handlerNs.get() / 1e6 / Math.max(done, 1), late));
  }

  private ParallelConsumerOptions<byte[], byte[]> options(boolean tuned) {
    Properties settings = new Properties();
    settings.put("bootstrap.servers", words.get("bootstrap"));
    settings.put("group.id", words.get("group"));
    settings.put("auto.offset.reset", "earliest");
    settings.put("enable.auto.commit", "false");
    settings.put("key.deserializer", ByteArrayDeserializer.class.getName());
    settings.put("value.deserializer", ByteArrayDeserializer.class.getName());
    if (tuned) settings.put("max.poll.records", "5000");
    var options = ParallelConsumerOptions.<byte[], byte[]>builder()
        .ordering(ParallelConsumerOptions.ProcessingOrder.KEY)
        .maxConcurrency((int) number("concurrency"))
        .commitMode(ParallelConsumerOptions.CommitMode.PERIODIC_CONSUMER_ASYNCHRONOUS)
        .consumer(new KafkaConsumer<>(settings));
    if (tuned) options.messageBufferSize(100_000);
    return options.build();
  }

  private void core() {
    var processor = ParallelStreamProcessor.<byte[], byte[]>createEosStreamProcessor(options(false));
    processor.subscribe(List.of(words.get("topic")));
    processor.poll(context -> {
      Begun one = begin(context.getSingleConsumerRecord());
      try {
        if (handlerMs > 0) Thread.sleep(handlerMs);
      } catch (InterruptedException interrupted) {
        throw new IllegalStateException(interrupted);
      }
      end(one);
    });
  }

  private void vertx(boolean tuned) {
    Vertx vertx = Vertx.vertx();
    var processor = new VertxParallelEoSStreamProcessor<byte[], byte[]>(vertx, WebClient.create(vertx), options(tuned));
    processor.subscribe(List.of(words.get("topic")));
    processor.vertxFuture(context -> {
      Begun one = begin(context.getSingleConsumerRecord());
      if (handlerMs == 0) {
        end(one);
        return Future.succeededFuture();
      }
      Promise<Void> done = Promise.promise();
      vertx.setTimer(handlerMs, timer -> {
        end(one);
        done.complete();
      });
      return done.future();
    });
  }

  public static void main(String[] args) throws InterruptedException {
    Peer peer = new Peer(args);
    String setting = peer.words.get("setting");
    if (setting.equals("core")) peer.core();
    else peer.vertx(setting.equals("vertx-tuned"));
    peer.watch();
    Thread.sleep(Long.MAX_VALUE);
  }
}
