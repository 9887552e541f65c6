"""What puts alerts into Kafka: replay of processed visits, archived nights and synthetic ones."""
