"""The event bus: compact events in batches on NATS JetStream, published once, consumed by many.

Delivery is at least once and in order for each world, service and epoch. An event is identified by
(world, source, epoch, sequence number).
"""
