"""Shared by tests: broker and database, harnesses of services, npm."""
