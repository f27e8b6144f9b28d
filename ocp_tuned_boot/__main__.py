"""`python3 -m ocp_tuned_boot` is the command `ocp-tuned-boot`."""

from ocp_tuned_boot.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
