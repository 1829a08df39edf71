"""The ways in which programs print packets, one file each.

- `base`: what a dialect is, and what earlier packets tell about later ones
- `tcpdump`: tcpdump's lines, and those of Junos, pktmon and FortiGate, which print as it does
- `shark_list`, `shark_details`: tshark's and Wireshark's list of packets, and their trees
- `netfilter_log`: what Linux' firewall writes into the kernel's log; `fw_monitor`: what Check Point's prints at each inspection point
- `columns`: tables under a line of headings
- `dumps`: bytes that stand by themselves
- `table`: all of them, in order
"""
