//! The JSON format.

use bytes::Bytes;

use crate::codec::{Departure, MAX_NOTED, Place, json};
use crate::envelope::tests::sample;
use crate::envelope::{Attribute, Envelope, EnvelopeError};

const GOOD: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"user.followed.v1","time":"2026-01-01T00:00:00Z","partitionkey":"k"}"#;

fn departures(json: &str) -> Vec<Departure> {
    json::read_slice(json.as_bytes()).unwrap().deviations().iter().map(|deviation| deviation.kind).collect()
}

#[test]
fn data_survives_byte_for_byte() {
    let mut envelope = sample();
    envelope.extensions.insert("sagaepoch".into(), Attribute::Integer(7));
    for data in [&br#"{"price":1.10, "n":1e2}"#[..], b"null", b"12345678901234567890123", br#""\u00fc""#] {
        envelope.data = Some(Bytes::copy_from_slice(data));
        assert_eq!(Envelope::from_json(&envelope.to_json()).as_ref(), Ok(&envelope));
    }
    envelope.data = Some(Bytes::from_static(b" {\"a\": 1}\n"));
    assert_eq!(Envelope::from_json(&json::write_trusted(&envelope)).as_ref(), Ok(&envelope), "with its margin");
    assert_eq!(serde_json::from_slice::<Envelope>(&serde_json::to_vec(&envelope).unwrap()).unwrap(), envelope);
    let read = Envelope::from_json(&envelope.to_json()).unwrap();
    assert_eq!(read.data.as_deref(), Some(&b"{\"a\": 1}"[..]), "JSON for those who look for JSON");
    envelope.datacontenttype = Some("application/octet-stream".into());
    envelope.data = Some(Bytes::from_static(&[0, 159, 146, 150]));
    assert_eq!(Envelope::from_json(&envelope.to_json()).as_ref(), Ok(&envelope));
    envelope.data = Some(Bytes::new());
    assert_eq!(Envelope::from_json(&envelope.to_json()).as_ref(), Ok(&envelope));
    envelope.data = None;
    assert_eq!(Envelope::from_json(&envelope.to_json()).as_ref(), Ok(&envelope));
}

#[test]
fn data_is_cut_out_of_the_input() {
    let text = Bytes::from(GOOD.replace('}', r#","data": [1.10] }"#));
    let parsed = json::read(&text).unwrap();
    let data = parsed.data().unwrap();
    assert_eq!(&data[..], b"[1.10]");
    let offset = data.as_ptr() as usize - text.as_ptr() as usize;
    assert_eq!(text[offset..offset + 6], data[..], "not copied");
}

#[test]
fn refuses_what_the_specification_refuses() {
    assert!(Envelope::from_json(GOOD.as_bytes()).is_ok());
    let cases = [
        ("\"1.0\"", "\"2.0\""),
        ("\"1.0\"", "\"1.0 \""),
        ("\"id\":\"1\"", "\"id\":\"\""),
        ("\"id\":\"1\"", "\"id\":1"),
        ("\"id\":\"1\"", "\"id\":\"1\",\"id\":\"1\""),
        ("\"id\":\"1\"", "\"id\":\"1\",\"n\":2147483648"),
        ("\"id\":\"1\"", "\"id\":\"1\",\"n\":{}"),
        ("\"id\":\"1\"", "\"id\":\"1\",\"n\":null"),
        ("\"id\":\"1\"", "\"id\":\"1\",\"n\":1.0"),
        ("\"id\":\"1\"", "\"id\":\"1\",\"n\":\"1\",\"N\":\"1\""),
        ("\"id\":\"1\"", "\"id\":\"1\",\"data\":1,\"data_base64\":\"MQ==\""),
        ("\"id\":\"1\"", "\"id\":\"1\",\"data_base64\":\"M Q\""),
        ("\"id\":\"1\"", "\"id\":\"1\",\"datacontenttype\":\"text/plain\",\"data\":{}"),
        ("\"id\":\"1\"", "\"id\":\"1\",\"sequence\":\"0\""),
        ("\"id\":\"1\"", "\"id\":\"1\",\"sequence\":\"9223372036854775808\""),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00+25:00"),
        ("\"k\"}", "\"\"}"),
        ("\"k\"}", "\"k\"} {}"),
        ("\"/s\"", "\"/s\\u0000\""),
        ("\"/s\"", "\"\\ud800\""),
    ];
    for (from, to) in cases {
        let bad = GOOD.replace(from, to);
        assert!(Envelope::from_json(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn every_deviation_is_named_and_none_is_accepted_unasked() {
    let cases = [
        ("\"1.0\"", "1.0", Departure::SpecVersionForm),
        ("\"1.0\"", "\"1.0.2\"", Departure::SpecVersionForm),
        ("\"id\":\"1\"", "\"ID\":\"1\"", Departure::UpperCaseName),
        ("\"id\":\"1\"", "\"id\":17", Departure::NotText),
        ("\"id\":\"1\"", "\"id\":\"1\",\"fooBar\":\"x\"", Departure::UpperCaseName),
        ("\"id\":\"1\"", "\"id\":\"1\",\"subject\":null", Departure::NullAttribute),
        ("\"id\":\"1\"", "\"id\":\"1\",\"n\":null", Departure::NullAttribute),
        ("\"id\":\"1\"", "\"id\":\"1\",\"subject\":\"\"", Departure::EmptyAttribute),
        ("\"id\":\"1\"", "\"id\":\"1\",\"n\":\"\"", Departure::EmptyAttribute),
        ("\"id\":\"1\"", "\"id\":\"1\",\"dataschema\":\"/rel\"", Departure::RelativeSchema),
        ("\"id\":\"1\"", "\"id\":\"1\",\"data_base64\":\"MQ\"", Departure::Base64Unpadded),
        ("\"id\":\"1\"", "\"id\":\"1\",\"data_base64\":\"M Q==\"", Departure::Base64Whitespace),
        ("\"id\":\"1\"", "\"id\":\"1\",\"datacontenttype\":\"a/b\",\"data_base64\":\"_w==\"", Departure::Base64Url),
        ("T00:00:00Z", " 00:00:00z", Departure::TimeForm),
        ("{\"spec", "\u{feff}{\"spec", Departure::ByteOrderMark),
    ];
    for (from, to, expected) in cases {
        let text = GOOD.replacen(from, to, 1);
        assert_eq!(departures(&text), [expected], "{text}");
        assert!(Envelope::from_json(text.as_bytes()).is_err(), "{text}");
        let (_, faults) = json::survey(text.as_bytes()).unwrap();
        assert!(faults.is_empty(), "{text}: {faults:?}");
    }
    assert_eq!(departures(GOOD), []);
}

#[test]
fn a_survey_names_everything_with_its_place() {
    let text =
        "{\"specversion\":\"1.0\",\n \"id\":\"\",\"source\":\"a b\",\"type\":\"t\",\n \"n\":[1], \"time\":\"soon\"}";
    let (parsed, faults) = json::survey(text.as_bytes()).unwrap();
    assert_eq!(parsed.get("type"), Some("t".into()));
    let found: Vec<_> = faults
        .iter()
        .map(|fault| {
            let place = fault.place().map(|place| match place {
                Place::Text { line, column, .. } => (*line, *column),
                other => panic!("{other}"),
            });
            (fault.attribute(), place)
        })
        .collect();
    assert_eq!(
        found,
        [(Some("n"), Some((3, 6))), (Some("id"), None), (Some("source"), Some((2, 19))), (Some("time"), Some((3, 18)))]
    );
    let broken = json::survey(b"{\"id\": \"1\",\n \"source\" 2}").unwrap_err();
    assert!(matches!(broken.place(), Some(Place::Text { line: 2, column: 11, offset: 22 })), "{broken:?}");
    for (text, name) in [(&b"[]"[..], "malformed"), (b"", "malformed"), (b"{\"a\":\"\xff\"}", "malformed")] {
        assert_eq!(json::survey(text).unwrap_err().name(), name);
    }
}

#[test]
fn batches_judge_each_event_for_itself() {
    let text = Bytes::from(format!("[{GOOD}, {{}},\n{}]", GOOD.replace("\"/s\"", "\"a b\"")));
    let batch = json::read_batch(&text, 3).unwrap();
    assert!(batch[0].is_ok());
    assert_eq!(batch[1].as_ref().unwrap_err().attribute(), Some("specversion"));
    let place = batch[2].as_ref().unwrap_err().place().unwrap().to_string();
    assert_eq!(place, "line 2, column 40", "counted in the whole");
    assert_eq!(json::read_batch(&text, 2).unwrap_err().name(), "limit");
    assert_eq!(json::read_batch(&Bytes::from_static(b"{}"), 2).unwrap_err().name(), "malformed");
    assert!(json::read_batch(&Bytes::from_static(b"[]"), 2).unwrap().is_empty());
    let written = Bytes::from(json::write_batch(&[sample(), sample()]).unwrap());
    assert_eq!(json::read_batch(&written, 2).unwrap().len(), 2);
}

#[test]
fn what_breaks_a_rule_is_not_written() {
    let mut envelope = sample();
    envelope.data = Some(Bytes::from_static(b"{"));
    assert_eq!(json::write(&envelope).unwrap_err().attribute(), Some("data"));
    let opaque = String::from_utf8(envelope.to_json()).unwrap();
    assert!(opaque.contains("\"data_base64\":\"ew==\""), "{opaque}");
    assert!(matches!(Envelope::from_json(opaque.as_bytes()), Err(EnvelopeError::Invalid { .. })));
}

#[test]
fn nobody_makes_a_reader_note_thousands_of_things() {
    let many = |member: &str| {
        let members: String = (0..10_000).map(|n| member.replace('#', &n.to_string())).collect();
        GOOD.replacen('{', &format!("{{\n{members}"), 1)
    };
    for member in ["\"x#\":null,\n", "\"X#\":\"1\",\n", "\"x-#\":\"1\",\n", "\"id\":\"1\",\n", "\"n#\":{},\n"] {
        let text = many(member);
        let (parsed, faults) = json::survey(text.as_bytes()).unwrap();
        assert!(parsed.deviations().len() <= MAX_NOTED && faults.len() <= MAX_NOTED, "{member}");
        assert!(!faults.is_empty(), "{member}: too many deviations are no deviation any more");
        assert!(json::read_slice(text.as_bytes()).is_err());
    }
}

#[test]
fn text_is_text_to_those_who_read_it_and_bytes_to_ourselves() {
    let mut envelope = sample();
    envelope.datacontenttype = Some("text/plain".into());
    for (data, expected) in
        [(&b"Gr\xc3\xb6\xc3\x9fe\n\""[..], r#""data":"Größe\n\"""#), (b"\0", r#""data_base64":"AA==""#)]
    {
        envelope.data = Some(Bytes::copy_from_slice(data));
        let written = String::from_utf8(envelope.to_json()).unwrap();
        assert!(written.contains(expected), "{written}");
        assert_eq!(Envelope::from_json(written.as_bytes()).as_ref(), Ok(&envelope));
        let exact = json::write_trusted(&envelope);
        assert!(String::from_utf8_lossy(&exact).contains("data_base64"));
        assert_eq!(Envelope::from_trusted_json(&exact).as_ref(), Ok(&envelope));
    }
}
