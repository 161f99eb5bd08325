"""`python -m services.router` runs this service alone."""

from kernel.service import start
from services.router.app import create_service
from services.router.settings import Settings

if __name__ == "__main__":
    start("router", Settings, create_service, low_priority=True)
