"""`python -m pdc_core`: the command line."""

from pdc_core.cli import main

main()
