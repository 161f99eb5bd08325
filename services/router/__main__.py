"""`python -m services.router` runs this service alone."""

from kernel.service import start_service
from services.router.app import create_service
from services.router.settings import Settings

if __name__ == "__main__":
    start_service("router", Settings, create_service, low_priority=True)
