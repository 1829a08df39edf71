"""What both ends saw of each packet, joined into observations.

`packet_records.PacketRecord` is one packet as one end saw it leave or come. A live run records packet records at its sockets, offline
analysis decodes them from captures; `judge` joins the two ends' lists the same way for both, so that live and offline come to the same
facts. Pure, and on the standard library alone.
"""
