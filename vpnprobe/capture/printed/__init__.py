"""Traces as programs print them and people paste them: text to the frames that a capture file gives.

From bytes to frames, each step by itself:

- `characters`: bytes to lines, with the characters that the program printed
- `assembly`: lines to packets: lines that were broken joined, lines of several packets divided; `decorations`: what stands before them
- `dialects`: what a packet's text says, by the program that printed it; `contents`: the payload that it describes; `pairs`: its ends
- `hex_dumps`: the bytes of a packet, where they are printed
- `clocks`, `streams`, `lengths`: times, sequence numbers and lengths, which need the packets before and after
- `traces`: all of it, trace by trace, and what was not understood
- `packets`: what these pass to one another
"""
