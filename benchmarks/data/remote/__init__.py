"""Shards that lie elsewhere: addresses, reading with patience, and a bounded copy on this machine."""
