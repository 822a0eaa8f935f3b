//! As much of D-Bus as asking the user's systemd takes: one connection, method
//! calls, their replies (D-Bus Specification 0.43).

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

/// The largest reply that is read; those that are asked for are short.
const REPLY_MAX: u32 = 64 * 1024;
/// The most messages of others that are passed over while a reply is awaited.
const OTHERS_MAX: usize = 64;
/// The length of a message up to the array of its fields.
const FIXED: usize = 12;

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;

/// Numbers of fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// A connection to a message bus.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// All of it is over by then: a bus that does not answer stops nobody.
    deadline: Instant,
}

/// What is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
}

/// Values as they stand in a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    bytes: Vec<u8>,
    signature: String,
}

impl Bus {
    /// Connects to the bus at `path` as this process's user.
    pub(super) fn connect(path: &Path, time: Duration) -> io::Result<Self> {
        let mut bus = Self {
            stream: UnixStream::connect(path)?,
            serial: 0,
            deadline: Instant::now() + time,
        };
        let user = rustix::process::geteuid().as_raw().to_string();
        // In hexadecimal digits, as which the character of a digit is 3 and itself.
        let user: String = user.chars().flat_map(|digit| ['3', digit]).collect();
        bus.write(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())?;
        if !bus.line()?.starts_with("OK ") {
            return Err(malformed("the bus does not let this user in"));
        }
        bus.write(b"BEGIN\r\n")?;
        let hello = Method {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
        };
        bus.call(hello, &Values::default())?;
        Ok(bus)
    }

    /// Calls a method; the body of its reply, in which a value of the type
    /// string, object path or variant of either can be read by [`text`].
    pub(super) fn call(&mut self, method: Method<'_>, values: &Values) -> io::Result<Vec<u8>> {
        self.serial += 1;
        let message = method.message(self.serial, values)?;
        self.write(&message)?;
        for _ in 0..OTHERS_MAX {
            let (kind, answered, body) = self.message()?;
            if answered != Some(self.serial) {
                continue;
            }
            match kind {
                METHOD_RETURN => return Ok(body),
                ERROR => {
                    let words = text(&body);
                    return Err(io::Error::other(words.unwrap_or("it refused".to_owned())));
                }
                _ => {}
            }
        }
        Err(malformed("no reply among many messages"))
    }

    /// The next message: its kind, which call it answers, its body.
    fn message(&mut self) -> io::Result<(u8, Option<u32>, Vec<u8>)> {
        let mut head = [0; FIXED + 4];
        self.read(&mut head)?;
        let [order, kind, ..] = head;
        if order != b'l' {
            return Err(malformed("a reply in another byte order"));
        }
        let (body, fields) = (number(&head, 4)?, number(&head, FIXED)?);
        if body > REPLY_MAX || fields > REPLY_MAX {
            return Err(malformed("a reply that is too long"));
        }
        let mut rest = vec![0; usize_of(fields).next_multiple_of(8) + usize_of(body)];
        self.read(&mut rest)?;
        let (fields, body) = rest.split_at(usize_of(fields).next_multiple_of(8));
        Ok((kind, reply_serial(fields), body.to_vec()))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.read(&mut byte)?;
            line.extend(byte);
            if line.len() > 512 {
                return Err(malformed("a greeting that is too long"));
            }
        }
        String::from_utf8(line).map_err(|_| malformed("a greeting that is no text"))
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.stream.set_read_timeout(Some(self.time()?))?;
        self.stream.read_exact(bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.set_write_timeout(Some(self.time()?))?;
        self.stream.write_all(bytes)
    }

    fn time(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(left)
    }
}

impl Method<'_> {
    fn message(self, serial: u32, values: &Values) -> io::Result<Vec<u8>> {
        let mut fields = Values::default();
        for (number, kind, value) in [
            (PATH, "o", self.path),
            (INTERFACE, "s", self.interface),
            (MEMBER, "s", self.member),
            (DESTINATION, "s", self.destination),
        ] {
            fields.field(number, kind);
            fields.put_string(value);
        }
        if !values.signature.is_empty() {
            fields.field(SIGNATURE, "g");
            fields.put_signature(&values.signature);
        }
        let length = |bytes: &[u8]| {
            u32::try_from(bytes.len()).map_err(|_| malformed("a call that is too long"))
        };
        let mut message = vec![b'l', METHOD_CALL, 0, 1];
        message.extend(length(&values.bytes)?.to_le_bytes());
        message.extend(serial.to_le_bytes());
        message.extend(length(&fields.bytes)?.to_le_bytes());
        message.extend(&fields.bytes);
        message.resize(message.len().next_multiple_of(8), 0);
        message.extend(&values.bytes);
        Ok(message)
    }
}

impl Values {
    /// Adds a string.
    pub(super) fn string(mut self, value: &str) -> Self {
        self.signature.push('s');
        self.put_string(value);
        self
    }

    /// Adds an array of properties, each a name and a variant.
    pub(super) fn properties(mut self, properties: &[(&str, Property)]) -> Self {
        self.signature.push_str("a(sv)");
        self.array(8, |values| {
            for (name, property) in properties {
                values.align(8);
                values.put_string(name);
                property.put(values);
            }
        });
        self
    }

    /// Adds an empty array of units that go with one: `a(sa(sv))`.
    pub(super) fn no_units(mut self) -> Self {
        self.signature.push_str("a(sa(sv))");
        self.array(8, |_| ());
        self
    }

    fn field(&mut self, number: u8, kind: &str) {
        self.align(8);
        self.bytes.push(number);
        self.put_signature(kind);
    }

    fn array(&mut self, alignment: usize, fill: impl FnOnce(&mut Self)) {
        self.align(4);
        let at = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.align(alignment);
        let start = self.bytes.len();
        fill(self);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        if let Some(place) = self.bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }

    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn put_string(&mut self, value: &str) {
        self.align(4);
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(value.as_bytes());
        self.bytes.push(0);
    }

    fn put_signature(&mut self, value: &str) {
        self.bytes
            .push(u8::try_from(value.len()).unwrap_or(u8::MAX));
        self.bytes.extend(value.as_bytes());
        self.bytes.push(0);
    }
}

/// The value of a property of a unit.
#[derive(Clone, Debug)]
pub(super) enum Property {
    /// `s`
    Text(String),
    /// `t`
    Number(u64),
    /// `au`
    Processes(u32),
}

impl Property {
    fn put(&self, values: &mut Values) {
        match self {
            Self::Text(text) => {
                values.put_signature("s");
                values.put_string(text);
            }
            Self::Number(number) => {
                values.put_signature("t");
                values.align(8);
                values.bytes.extend(number.to_le_bytes());
            }
            Self::Processes(process) => {
                values.put_signature("au");
                values.array(4, |values| values.bytes.extend(process.to_le_bytes()));
            }
        }
    }
}

/// The string or object path at the beginning of `body`, in a variant or not.
pub(super) fn text(body: &[u8]) -> Option<String> {
    // A variant begins with the length of its signature, 1, where a string
    // begins with its own, of which the last three bytes are 0.
    let body = match body {
        [1, b's' | b'o', 0, ..] => body.get(4..)?,
        _ => body,
    };
    let length = usize_of(number(body, 0).ok()?);
    let bytes = body.get(4..4_usize.checked_add(length)?)?;
    String::from_utf8(bytes.to_vec()).ok()
}

/// Which call a message answers, by its fields.
fn reply_serial(fields: &[u8]) -> Option<u32> {
    let mut at = 0_usize;
    loop {
        at = at.next_multiple_of(8);
        let field = fields.get(at..)?;
        match field {
            [REPLY_SERIAL, 1, b'u', 0, ..] => return number(field, 4).ok(),
            [_, 1, b's' | b'o', 0, ..] => {
                at = at.checked_add(9 + usize_of(number(field, 4).ok()?))?;
            }
            [_, 1, b'g', 0, length, ..] => at += 6 + usize::from(*length),
            [_, 1, b'u', 0, ..] => at += 8,
            _ => return None,
        }
    }
}

fn number(bytes: &[u8], at: usize) -> io::Result<u32> {
    let four = bytes.get(at..at + 4).and_then(|four| four.first_chunk());
    let four = four.ok_or_else(|| malformed("a message that is cut"))?;
    Ok(u32::from_le_bytes(*four))
}

fn usize_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
