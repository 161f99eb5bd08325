"""Alembic's entry to the migrations of delivery."""

from kernel.migrate import run_env

run_env("delivery")
