use super::names::FakeAddresses;
use stockade_types::HostName;

const HEADER_LENGTH: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_ANY: u16 = 255;
const CLASS_IN: u16 = 1;
/// Seconds; the address is stable for the task's life anyway.
const TIME_TO_LIVE: u32 = 60;

#[derive(Clone, Copy, PartialEq, Eq)]
enum ResponseCode {
    NoError = 0,
    FormatError = 1,
    ServerFailure = 2,
    NotImplemented = 4,
    Refused = 5,
}

/// The one question of a query (RFC 1035 §4.1.2).
struct Question<'a> {
    /// The question as it stood on the wire, to be echoed.
    wire: &'a [u8],
    /// The name as text, if its labels are such that it has one.
    name: Option<String>,
    kind: u16,
    class: u16,
}

/// The reply to `query`, or `None` where none is due: what is too short or is
/// itself a reply.
///
/// Only address records of the Internet class are answered. Types that could
/// carry a hint to another transport or address (HTTPS, SVCB, AAAA, MX…) are
/// answered as having no records, so that clients go on at once.
pub(crate) fn reply(query: &[u8], names: &FakeAddresses) -> Option<Vec<u8>> {
    let header = query.get(..HEADER_LENGTH)?;
    let is_reply = header[2] & 0x80 != 0;
    if is_reply {
        return None;
    }
    let opcode = header[2] >> 3 & 0x0f;
    if opcode != 0 {
        return Some(message(header, None, ResponseCode::NotImplemented, None));
    }
    let one_question = header[4..6] == [0, 1];
    let no_answers = header[6..10] == [0, 0, 0, 0];
    let Some(question) = question(&query[HEADER_LENGTH..]).filter(|_| one_question && no_answers)
    else {
        return Some(message(header, None, ResponseCode::FormatError, None));
    };
    let (code, answer) = answer(&question, names);
    Some(message(header, Some(&question), code, answer))
}

fn answer(question: &Question<'_>, names: &FakeAddresses) -> (ResponseCode, Option<[u8; 4]>) {
    let name = question
        .name
        .as_deref()
        .and_then(|text| text.parse::<HostName>().ok());
    let Some(name) = name.filter(|_| question.class == CLASS_IN && question.kind != TYPE_ANY)
    else {
        return (ResponseCode::Refused, None);
    };
    if question.kind != TYPE_A {
        return (ResponseCode::NoError, None);
    }
    // RFC 6761 §6.3: this name is never looked up.
    if name.as_str() == "localhost" || name.as_str().ends_with(".localhost") {
        return (ResponseCode::NoError, Some([127, 0, 0, 1]));
    }
    match names.address(&name) {
        Ok(address) => (ResponseCode::NoError, Some(address.octets())),
        Err(_) => (ResponseCode::ServerFailure, None),
    }
}

/// Reads the first question. Compression is refused: in a first question
/// there is nothing to point at.
fn question(rest: &[u8]) -> Option<Question<'_>> {
    let mut at = 0;
    let mut text = Some(String::new());
    loop {
        let length = usize::from(*rest.get(at)?);
        if length > 63 {
            return None;
        }
        at += 1;
        if length == 0 {
            break;
        }
        let label = rest.get(at..at + length)?;
        at += length;
        // 255 with the length bytes and the root, RFC 1035 §2.3.4.
        if at > 254 {
            return None;
        }
        // A dot within a label would read as two labels.
        let plain = label.iter().all(|b| b.is_ascii_graphic() && *b != b'.');
        text = text.filter(|_| plain).map(|mut text| {
            if !text.is_empty() {
                text.push('.');
            }
            text.extend(label.iter().map(|&b| char::from(b)));
            text
        });
    }
    let tail = rest.get(at..at + 4)?;
    Some(Question {
        wire: &rest[..at + 4],
        name: text,
        kind: u16::from_be_bytes([tail[0], tail[1]]),
        class: u16::from_be_bytes([tail[2], tail[3]]),
    })
}

fn message(
    query: &[u8],
    question: Option<&Question<'_>>,
    code: ResponseCode,
    answer: Option<[u8; 4]>,
) -> Vec<u8> {
    let mut reply = Vec::with_capacity(64);
    reply.extend_from_slice(&query[..2]);
    // QR, the query's opcode and RD; then RA and the code.
    reply.push(0x80 | query[2] & 0x79);
    reply.push(0x80 | code as u8);
    reply.extend_from_slice(&[0, u8::from(question.is_some())]);
    reply.extend_from_slice(&[0, u8::from(answer.is_some()), 0, 0, 0, 0]);
    reply.extend_from_slice(question.map_or(&[], |question| question.wire));
    if let Some(address) = answer {
        // 0xc00c points at the question's name.
        reply.extend_from_slice(&[0xc0, 0x0c, 0, 1, 0, 1]);
        reply.extend_from_slice(&TIME_TO_LIVE.to_be_bytes());
        reply.extend_from_slice(&[0, 4]);
        reply.extend_from_slice(&address);
    }
    reply
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::{Message, MessageType, Query, ResponseCode as Code},
        rr::{DNSClass, Name, RData, RecordType},
    };
    use proptest::prelude::*;

    use super::{super::names::NAMES_MAX, *};

    fn query(name: &str, kind: RecordType) -> Vec<u8> {
        let mut message = Message::new();
        message.set_id(0x1234).set_recursion_desired(true);
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message.to_vec().unwrap()
    }

    fn ask(names: &FakeAddresses, name: &str, kind: RecordType) -> Message {
        let bytes = reply(&query(name, kind), names).unwrap();
        let message = Message::from_vec(&bytes).unwrap();
        assert_eq!(message.message_type(), MessageType::Response);
        assert_eq!(message.id(), 0x1234);
        message
    }

    #[test]
    fn an_address_query_gets_one_stable_fake_address_whatever_the_case() {
        let names = FakeAddresses::default();
        let first = ask(&names, "api.example.com.", RecordType::A);
        let again = ask(&names, "API.Example.COM.", RecordType::A);
        let data = |message: &Message| match message.answers() {
            [record] => record.data().clone(),
            other => panic!("{other:?}"),
        };
        let RData::A(address) = data(&first) else {
            panic!("not an address")
        };
        assert_eq!(data(&first), data(&again));
        assert_eq!(
            names.name(address.0.into()).unwrap().as_str(),
            "api.example.com"
        );
    }

    #[test]
    fn every_other_type_has_no_records_and_takes_no_place() {
        let names = FakeAddresses::default();
        use RecordType as T;
        for kind in [
            T::AAAA,
            T::HTTPS,
            T::SVCB,
            T::TXT,
            T::MX,
            T::SRV,
            T::NULL,
            T::PTR,
            T::NS,
        ] {
            let message = ask(&names, "secret-payload.attacker.test.", kind);
            assert_eq!(message.response_code(), Code::NoError, "{kind}");
            assert!(message.answers().is_empty(), "{kind}");
        }
        assert_eq!(
            ask(&names, "x.test.", T::ANY).response_code(),
            Code::Refused
        );
        assert_eq!(names.name("198.18.0.1".parse().unwrap()), None);
    }

    #[test]
    fn names_that_are_no_host_names_and_other_classes_are_refused() {
        let names = FakeAddresses::default();
        let labels: [&[&[u8]]; 8] = [
            &[b"127", b"0", b"0", b"1"],
            &[b"0x7f", b"1"],
            &[b"a b", b"test"],
            &[b"-x", b"test"],
            &[b"a.b", b"test"],
            &[b"a\0", b"test"],
            &[b"\xc3\xa9", b"test"],
            &[],
        ];
        for labels in labels {
            let mut query = query("x.", RecordType::A)[..HEADER_LENGTH].to_vec();
            for label in labels {
                query.push(u8::try_from(label.len()).unwrap());
                query.extend_from_slice(label);
            }
            query.extend_from_slice(&[0, 0, 1, 0, 1]);
            let code = reply(&query, &names).unwrap()[3] & 0x0f;
            assert_eq!(code, ResponseCode::Refused as u8, "{labels:?}");
        }
        let mut chaos = Message::new();
        let mut question =
            Query::query(Name::from_ascii("version.bind.").unwrap(), RecordType::TXT);
        question.set_query_class(DNSClass::CH);
        chaos.add_query(question);
        let bytes = reply(&chaos.to_vec().unwrap(), &names).unwrap();
        assert_eq!(
            Message::from_vec(&bytes).unwrap().response_code(),
            Code::Refused
        );
    }

    #[test]
    fn a_full_table_is_a_server_failure() {
        let names = FakeAddresses::default();
        for index in 0..NAMES_MAX {
            names
                .address(&format!("n{index}.test").parse().unwrap())
                .unwrap();
        }
        let message = ask(&names, "more.test.", RecordType::A);
        assert_eq!(message.response_code(), Code::ServFail);
    }

    #[test]
    fn localhost_is_never_made_up() {
        let message = ask(&FakeAddresses::default(), "localhost.", RecordType::A);
        assert_eq!(
            message.answers()[0].data(),
            &RData::A(std::net::Ipv4Addr::LOCALHOST.into())
        );
    }

    #[test]
    fn replies_compression_loops_and_overlong_names_are_not_believed() {
        let names = FakeAddresses::default();
        let mut is_reply = query("a.test.", RecordType::A);
        is_reply[2] |= 0x80;
        assert_eq!(reply(&is_reply, &names), None);
        let mut pointer = query("a.test.", RecordType::A);
        pointer[12] = 0xc0;
        pointer[13] = 12;
        let bytes = reply(&pointer, &names).unwrap();
        assert_eq!(
            Message::from_vec(&bytes).unwrap().response_code(),
            Code::FormErr
        );
        let mut long = query("a.test.", RecordType::A)[..12].to_vec();
        for _ in 0..5 {
            long.push(63);
            long.extend([b'a'; 63]);
        }
        long.extend([0, 0, 1, 0, 1]);
        assert_eq!(
            reply(&long, &names).unwrap()[3] & 0x0f,
            ResponseCode::FormatError as u8
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fail_or_answer_more_than_asked(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let names = FakeAddresses::default();
            if let Some(reply) = reply(&bytes, &names) {
                prop_assert!(reply.len() <= bytes.len() + 16);
                prop_assert!(Message::from_vec(&reply).is_ok());
                prop_assert_eq!(&reply[..2], &bytes[..2]);
            }
        }

        #[test]
        fn a_mutated_query_is_answered_in_a_well_formed_way(at in 0usize..40, value in any::<u8>()) {
            let mut bytes = query("api.example.com.", RecordType::A);
            let at = at % bytes.len();
            bytes[at] = value;
            if let Some(reply) = reply(&bytes, &FakeAddresses::default()) {
                prop_assert!(Message::from_vec(&reply).is_ok());
            }
        }
    }
}
