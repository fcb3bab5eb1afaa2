// Debezium's engine over Medled's outbox, tuned: pgoutput, its EventRouter, batches of 8,192, looked for every 5 ms; an
// idempotent producer with acks=all and batches of 512 KB. Arguments: database host, port, name; Kafka's address. Says
// after each batch how many it has published, and when (ms).

import io.debezium.embedded.Connect;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.RecordChangeEvent;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Future;
import java.util.ArrayList;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.connect.source.SourceRecord;

public class OutboxRelay {
    private static long published;

    public static void main(String[] args) throws Exception {
        KafkaProducer<byte[], byte[]> producer = producer(args[3]);
        DebeziumEngine<RecordChangeEvent<SourceRecord>> engine = DebeziumEngine
            .create(io.debezium.engine.format.ChangeEventFormat.of(Connect.class))
            .using(source(args[0], args[1], args[2]))
            .notifying((batch, committer) -> publish(producer, batch, committer))
            .using((success, message, error) -> {
                System.err.println("ended: " + message + " " + error);
                System.exit(1);
            })
            .build();
        engine.run();
    }

    private static void publish(
            KafkaProducer<byte[], byte[]> producer, List<RecordChangeEvent<SourceRecord>> batch,
            DebeziumEngine.RecordCommitter<RecordChangeEvent<SourceRecord>> committer) throws InterruptedException {
        List<Future<?>> sent = new ArrayList<>(batch.size());
        for (RecordChangeEvent<SourceRecord> event : batch) {
            SourceRecord record = event.record();
            ProducerRecord<byte[], byte[]> out = new ProducerRecord<>(record.topic(), bytes(record.key()), bytes(record.value()));
            record.headers().forEach(header -> out.headers().add(header.key(), bytes(header.value())));
            sent.add(producer.send(out));
        }
        producer.flush();
        for (Future<?> each : sent) {
            try {
                each.get();
            } catch (java.util.concurrent.ExecutionException refused) {
                throw new RuntimeException(refused);
            }
        }
        for (RecordChangeEvent<SourceRecord> event : batch) {
            committer.markProcessed(event);
        }
        committer.markBatchFinished();
        published += batch.size();
        System.out.println("published " + published + " at " + System.currentTimeMillis());
    }

    private static byte[] bytes(Object value) {
        if (value == null) return null;
        if (value instanceof byte[] raw) return raw;
        if (value instanceof ByteBuffer buffer) {
            byte[] raw = new byte[buffer.remaining()];
            buffer.duplicate().get(raw);
            return raw;
        }
        return value.toString().getBytes(java.nio.charset.StandardCharsets.UTF_8);
    }

    private static KafkaProducer<byte[], byte[]> producer(String bootstrap) {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("acks", "all");
        p.put("enable.idempotence", "true");
        p.put("batch.size", "524288");
        p.put("linger.ms", "0");
        p.put("buffer.memory", "134217728");
        return new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private static Properties source(String host, String port, String database) {
        Properties p = new Properties();
        p.put("name", "outbox");
        p.put("connector.class", "io.debezium.connector.postgresql.PostgresConnector");
        p.put("offset.storage", "org.apache.kafka.connect.storage.MemoryOffsetBackingStore");
        p.put("offset.flush.interval.ms", "5000");
        p.put("database.hostname", host);
        p.put("database.port", port);
        p.put("database.user", "postgres");
        p.put("database.password", "trusted");
        p.put("database.dbname", database);
        p.put("topic.prefix", "bench");
        p.put("plugin.name", "pgoutput");
        p.put("slot.name", database);
        p.put("publication.name", database);
        p.put("publication.autocreate.mode", "filtered");
        p.put("table.include.list", "public.outbox");
        p.put("snapshot.mode", "no_data");
        p.put("tombstones.on.delete", "false");
        p.put("max.batch.size", "8192");
        p.put("max.queue.size", "32768");
        p.put("poll.interval.ms", "5");
        p.put("transforms", "outbox");
        p.put("transforms.outbox.type", "io.debezium.transforms.outbox.EventRouter");
        p.put("transforms.outbox.table.field.event.id", "id");
        p.put("transforms.outbox.table.field.event.key", "key");
        p.put("transforms.outbox.table.field.event.payload", "payload");
        p.put("transforms.outbox.route.by.field", "topic");
        p.put("transforms.outbox.route.topic.replacement", "${routedByValue}");
        p.put("transforms.outbox.table.fields.additional.placement",
            "subject:header:ce_subject,type:header:ce_type,headers:header:headers");
        return p;
    }
}
