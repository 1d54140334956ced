"""RabbitMQ: consuming, publishing, and what is believed of whom."""
