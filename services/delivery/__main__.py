"""`python -m services.delivery` runs this service alone."""

from kernel.service import start_service
from services.delivery.app import create_service
from services.delivery.settings import Settings

if __name__ == "__main__":
    start_service("delivery", Settings, create_service, low_priority=True)
