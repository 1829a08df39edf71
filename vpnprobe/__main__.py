"""`python -m vpnprobe` is `vpnprobe`."""

from vpnprobe.cli import main

if __name__ == "__main__":
    main()
