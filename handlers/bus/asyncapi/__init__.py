"""The contract of the bus, generated from what is subscribed and published."""
