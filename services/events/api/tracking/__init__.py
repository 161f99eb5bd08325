"""The public listener of links in mail. Its answers come from signed tokens alone, so that links
lead on although PostgreSQL and Kafka are away."""
