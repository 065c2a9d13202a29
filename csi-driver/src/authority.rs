//! Lets kubelet's plugin watcher in, and the secrets-store driver.
//!
//! They dial a socket by its bare path, and grpc-go then sends the percent-encoded path as
//! `:authority`. RFC 3986 allows that; the `http` crate does not, and the `h2` crate answers PROTOCOL_ERROR, so that the
//! driver would never be registered. (For the driver's own socket kubelet says `localhost`.) This filter stands before the
//! server on that one socket and rewrites the pseudo-header; everything else passes as it came.
//!
//! Frames: RFC 9113 §4.1 and §6.2; header blocks: RFC 7541, decoded with its state, written back as plain literals.

use std::io;

use loona_hpack::Decoder;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream},
    net::UnixStream,
};
use tracing::debug;

const PREFACE_LENGTH: usize = 24;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// Buffered between the socket and the server; registration's messages are tiny.
const BUFFER: usize = 64 * 1024;

struct Frame {
    kind: u8,
    flags: u8,
    stream: [u8; 4],
    payload: Vec<u8>,
}

/// The connection as the server is to see it.
pub fn localhost(socket: UnixStream) -> DuplexStream {
    let (server, ours) = tokio::io::duplex(BUFFER);
    tokio::spawn(async move {
        let (mut from_client, mut to_client) = socket.into_split();
        let (mut from_server, mut to_server) = tokio::io::split(ours);
        let (requests, answers) = tokio::join!(
            async {
                let passed = rewrite(&mut from_client, &mut to_server).await;
                let _ = to_server.shutdown().await;
                passed
            },
            async {
                let passed = tokio::io::copy(&mut from_server, &mut to_client).await;
                let _ = to_client.shutdown().await;
                passed
            }
        );
        if let (Err(error), _) | (_, Err(error)) = (requests, answers) {
            debug!(%error, "registration connection ended");
        }
    });
    server
}

async fn rewrite(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut preface = [0; PREFACE_LENGTH];
    from.read_exact(&mut preface).await?;
    to.write_all(&preface).await?;
    let mut decoder = Decoder::new();
    while let Some(mut frame) = read(from).await? {
        if frame.kind == HEADERS {
            let mut block = fragment(&frame)?;
            while frame.flags & END_HEADERS == 0 {
                let next = read(from).await?.filter(|next| next.kind == CONTINUATION);
                let next = next.ok_or_else(|| malformed("a header block does not end"))?;
                block.extend_from_slice(&next.payload);
                frame.flags |= next.flags & END_HEADERS;
            }
            frame.payload = encode(decoder.decode(&block).map_err(|_| malformed("a header block does not decode"))?);
            frame.flags = frame.flags & END_STREAM | END_HEADERS;
        }
        write(to, &frame).await?;
    }
    Ok(())
}

/// The part of the header block in a HEADERS frame, without padding and priority.
fn fragment(frame: &Frame) -> io::Result<Vec<u8>> {
    let mut block = frame.payload.as_slice();
    let mut padding = 0;
    let short = || malformed("a HEADERS frame is too short");
    if frame.flags & PADDED != 0 {
        let (first, rest) = block.split_first().ok_or_else(short)?;
        (padding, block) = (usize::from(*first), rest);
    }
    if frame.flags & PRIORITY != 0 {
        block = block.get(5..).ok_or_else(short)?;
    }
    let length = block.len().checked_sub(padding).ok_or_else(short)?;
    Ok(block.get(..length).unwrap_or_default().to_vec())
}

/// Literal header fields without indexing, without Huffman coding (RFC 7541 §6.2.2): valid whatever was sent before.
fn encode(fields: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        let value = if name == b":authority" { b"localhost".to_vec() } else { value };
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(&text);
        }
    }
    block
}

/// An integer with a 7-bit prefix (RFC 7541 §5.1).
fn length(block: &mut Vec<u8>, mut number: usize) {
    if number < 127 {
        block.push(number.to_le_bytes()[0]);
        return;
    }
    block.push(127);
    number -= 127;
    while number >= 128 {
        block.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    block.push(number.to_le_bytes()[0]);
}

async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut head = [0; 9];
    match from.read_exact(&mut head).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let [high, middle, low, kind, flags, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
    from.read_exact(&mut payload).await?;
    Ok(Some(Frame { kind, flags, stream, payload }))
}

async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let length = u32::try_from(frame.payload.len()).map_err(|_| malformed("a frame is too long"))?.to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], frame.kind, frame.flags];
    bytes.extend_from_slice(&frame.stream);
    bytes.extend_from_slice(&frame.payload);
    to.write_all(&bytes).await?;
    to.flush().await
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_path_that_kubelet_sends_as_authority_becomes_localhost() {
        let fields: [(&[u8], &[u8]); 3] =
            [(b":method", b"POST"), (b":path", b"/x/Y"), (b":authority", b"%2Fvar%2Flib%2Freg.sock")];
        let block = loona_hpack::Encoder::new().encode(fields);
        let (first, second) = block.split_at(block.len() / 2);
        let mut sent = vec![7; PREFACE_LENGTH];
        let frames = [
            Frame { kind: 4, flags: 0, stream: [0; 4], payload: vec![0, 3, 0, 0, 0, 100] },
            Frame {
                kind: HEADERS,
                flags: PADDED | END_STREAM,
                stream: [0, 0, 0, 1],
                payload: [&[2], first, &[0, 0]].concat(),
            },
            Frame { kind: CONTINUATION, flags: END_HEADERS, stream: [0, 0, 0, 1], payload: second.to_vec() },
        ];
        for frame in &frames {
            write(&mut sent, frame).await.unwrap();
        }

        let mut passed = Vec::new();
        rewrite(&mut sent.as_slice(), &mut passed).await.unwrap();

        let mut rest = &passed[PREFACE_LENGTH..];
        let settings = read(&mut rest).await.unwrap().unwrap();
        assert_eq!(settings.payload, frames[0].payload);
        let headers = read(&mut rest).await.unwrap().unwrap();
        assert_eq!((headers.kind, headers.flags), (HEADERS, END_HEADERS | END_STREAM));
        let fields = Decoder::new().decode(&headers.payload).unwrap();
        assert_eq!(fields[1], (b":path".to_vec(), b"/x/Y".to_vec()));
        assert_eq!(fields[2], (b":authority".to_vec(), b"localhost".to_vec()));
        assert!(read(&mut rest).await.unwrap().is_none());
    }

    #[test]
    fn long_values_have_long_lengths() {
        for number in [0, 126, 127, 128, 254, 255, 300, 20_000] {
            let mut block = vec![0];
            length(&mut block, 1);
            block.push(b'x');
            length(&mut block, number);
            block.resize(block.len() + number, b'a');
            let fields = Decoder::new().decode(&block).unwrap();
            assert_eq!(fields[0].1.len(), number);
        }
    }
}
