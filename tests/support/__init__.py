"""What tests share: broker and database, npm."""
