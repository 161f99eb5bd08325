"""`python -m services.shield` runs this service alone."""

from kernel.service import start_service
from services.shield.app import create_service
from services.shield.settings import Settings

if __name__ == "__main__":
    start_service("shield", Settings, create_service, low_priority=True)
