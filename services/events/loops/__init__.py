"""What events does by itself: webhooks, and forgetting."""
