"""`python -m services.ingest` runs this service alone."""

from kernel.service import start_service
from services.ingest.app import create_service
from services.ingest.settings import Settings

if __name__ == "__main__":
    start_service("ingest", Settings, create_service)
