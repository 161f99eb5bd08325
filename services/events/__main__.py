"""`python -m services.events` runs this service alone."""

from kernel.service import start_service
from services.events.app import create_service
from services.events.settings import Settings

if __name__ == "__main__":
    start_service("events", Settings, create_service, low_priority=True)
