from mail import records
from mail.records import Purpose


def test_a_domain_publishes_keys_return_path_and_dmarc() -> None:
    wanted = records.expected_records(
        "a.example",
        dkim=[
            records.key_record("a.example", "r1", "v=DKIM1; k=rsa; p=" + "A" * 400),
            records.key_record("a.example", "e1", "v=DKIM1; k=ed25519; p=BB"),
        ],
        return_path_host="bounce.a.example",
        bounce_mx="mx.engine.example",
        spf_include="spf.engine.example",
        dmarc_report="dmarc@a.example",
    )
    by_name = {(r.name, r.type): r for r in wanted}
    assert by_name["bounce.a.example", "TXT"].value == "v=spf1 include:spf.engine.example -all"
    assert by_name["bounce.a.example", "MX"].zone_line == (
        "bounce.a.example. IN MX 10 mx.engine.example."
    )
    assert (
        by_name["_dmarc.a.example", "TXT"].value == "v=DMARC1; p=none; rua=mailto:dmarc@a.example"
    )
    assert by_name["r1._domainkey.a.example", "TXT"].zone_line.count('"') == 4
    assert [r.purpose for r in wanted if not r.required] == [Purpose.DMARC]
