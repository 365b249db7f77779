"""`python -m gameai.services.time_manager`."""

import sys

from gameai.services.time_manager.service import SERVICE
from gameai.serving import main

if __name__ == "__main__":
    sys.exit(main(SERVICE))
