"""The schema of ingest."""

from kernel.migrate import run_env

run_env("ingest")
