"""`python -m gameai.services.weather_manager`."""

import sys

from gameai.services.weather_manager.service import SERVICE
from gameai.serving import main

if __name__ == "__main__":
    sys.exit(main(SERVICE))
