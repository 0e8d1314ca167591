"""The adapter to NATS JetStream. No other package names a NATS header, a `$JS` subject or a KV subject."""
