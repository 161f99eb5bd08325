"""Alembic's entry to the migrations of shield."""

from kernel.migrate import run_env

run_env("shield")
