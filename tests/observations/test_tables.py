"""The observations as CSV and as data frames."""

import csv
import json
from dataclasses import replace
from io import StringIO

from result_samples import SAMPLES, offline_result, seed_result

from vpnprobe.observations.schema import Unit
from vpnprobe.observations.tables import COLUMNS, conversation_table, to_csv, to_table, verdict_table


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(data.decode("utf-8"), newline="")))


def test_one_row_an_observation_under_stable_columns() -> None:
    result = seed_result()
    data = to_csv(result)
    assert data.split(b"\r\n")[0] == (
        b"id,probe,check,direction,transport,port,outcome,cause,sent,received,rtt_ms,error_bound,"
        b"family,value,low,high,unit,last_hop,last_address,next_address,detail,evidence"
    )
    rows = rows_of(data)
    assert [row["id"] for row in rows] == [row.id for row in result.observations]
    dropped = next(row for row in rows if row["id"] == "gre-passthrough-in-call-c2s")
    assert (dropped["outcome"], dropped["cause"], dropped["sent"], dropped["received"]) == ("blocked", "ip-protocol", "14", "0")
    assert (dropped["port"], dropped["last_hop"], dropped["next_address"]) == ("", "2", "10.78.2.2")
    assert json.loads(dropped["detail"]) == {"form": "in-call", "call_id": 1234, "peer_call_id": 4321}


def test_evidence_names_capture_and_frame() -> None:
    first = rows_of(to_csv(offline_result()))[0]
    assert json.loads(first["evidence"])[0] == {"capture": "seed-client.pcap", "frame": 9}


def test_a_document_without_observations_has_the_columns() -> None:
    assert to_csv(replace(seed_result(), observations=())).decode() == ",".join(COLUMNS) + "\r\n"


def test_numbers_stand_with_their_unit_and_what_is_not_known_is_empty() -> None:
    row = replace(seed_result().observations[0], family=6, value=1400.0, high=1500.0, unit=Unit.BYTES, sent=None)
    cells = rows_of(to_csv(replace(seed_result(), observations=(row,))))[0]
    assert [cells[name] for name in ("family", "value", "low", "high", "unit", "sent")] == ["6", "1400.0", "", "1500.0", "bytes", ""]
    table = to_table(replace(seed_result(), observations=(row,)))
    assert table["low"].isna().all()
    assert table["family"].tolist() == [6]


def test_text_of_strangers_is_no_formula_for_a_spreadsheet() -> None:
    row = replace(seed_result().observations[0], id="=cmd()", probe="@x", check="+1", detail={"=a": "=b"})
    cells = rows_of(to_csv(replace(seed_result(), observations=(row,))))[0]
    assert (cells["id"], cells["probe"], cells["check"]) == ("'=cmd()", "'@x", "'+1")
    assert all(not cell.startswith(("=", "+", "-", "@")) for cell in cells.values())


def test_every_sample_has_as_many_rows_as_observations() -> None:
    for make in SAMPLES.values():
        assert len(rows_of(to_csv(make()))) == len(make().observations)


def test_the_data_frame_keeps_what_is_not_known() -> None:
    table = to_table(seed_result())
    assert list(table.columns) == list(COLUMNS[1:])
    assert table.loc["gre-passthrough-bare-c2s", "sent"] == 14
    assert table["port"].isna().sum() == sum(row.port is None for row in seed_result().observations)
    assert str(table["port"].dtype) == "Int64"
    assert table["detail"].str.get("form").dropna().unique().tolist() == ["bare", "in-call"]


def test_verdicts_and_conversations_as_data_frames() -> None:
    verdicts = verdict_table(seed_result())
    assert verdicts.loc["pptp", "feasibility"] == "infeasible"
    assert verdicts.loc["openvpn-udp", "port"] == 1194
    assert conversation_table(seed_result()).empty
    assert conversation_table(offline_result())["stage"].tolist() == ["call-up", "one-way"]
