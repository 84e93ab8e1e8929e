//! A stream of sealed packets of frames, after the greeting. Up: the [crate](crate).
//!
//! A packet is the length of its body (`u32`), the body, and its seal. All frames that were said since the last one was
//! begun travel in one packet: under load a seal and a system call serve many records.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};

use crate::Stream;
use crate::frame::Frame;
use crate::greeting::WireError;
use crate::seal::{Seal, TAG_BYTES};

/// No packet is longer. One record of 100 MB fits; a length beyond it is no length.
const MOST: usize = 256 << 20;

/// Who has so many bytes to write does not say more.
const ENOUGH: usize = 1 << 20;

/// How many bytes are read at a time.
const READ: usize = 64 << 10;

/// One end of a wire.
pub(crate) struct Exchange {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    near: Seal,
    far: Seal,
    /// What was said and is in no packet yet.
    said: BytesMut,
    /// Packets to be written.
    out: BytesMut,
    /// What was read and is no whole packet yet.
    inbox: BytesMut,
    /// The rest of the last packet.
    heard: Bytes,
}

impl Exchange {
    /// The two seals are those of what is written and of what is read.
    pub(crate) fn new(stream: Box<dyn Stream>, near: Seal, far: Seal) -> Self {
        let (reader, writer) = split(stream);
        let (said, out, inbox) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
        Self { reader, writer, near, far, said, out, inbox, heard: Bytes::new() }
    }

    /// Says something; [`Exchange::carry`] writes it.
    pub(crate) fn say(&mut self, frame: &Frame) {
        frame.put(&mut self.said);
    }

    /// Whether the other side is slow to read: nothing more should be said.
    pub(crate) fn is_full(&self) -> bool {
        self.said.len() + self.out.len() >= ENOUGH
    }

    /// The next frame that has arrived; `None` = more must be read.
    pub(crate) fn hear(&mut self) -> Result<Option<Frame>, WireError> {
        if self.heard.is_empty() && !self.open_packet()? {
            return Ok(None);
        }
        Frame::take(&mut self.heard).map(Some).ok_or(WireError::Garbage)
    }

    fn open_packet(&mut self) -> Result<bool, WireError> {
        let Some(length) = self.inbox.first_chunk::<4>() else {
            return Ok(false);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 || length > MOST {
            return Err(WireError::Garbage);
        }
        let whole = 4 + length + TAG_BYTES;
        if self.inbox.len() < whole {
            self.inbox.reserve(whole - self.inbox.len());
            return Ok(false);
        }
        let mut packet = self.inbox.split_to(whole).freeze();
        packet.advance(4);
        let tag = packet.split_off(length);
        if !self.far.is_tag(&packet, &tag) {
            return Err(WireError::Stranger);
        }
        self.heard = packet;
        Ok(true)
    }

    /// Reads or writes what it can, and waits until there is something. Cancel-safe: both halves are, and what was said
    /// stays until it is written.
    pub(crate) async fn carry(&mut self) -> Result<(), WireError> {
        if !self.said.is_empty() {
            let tag = self.near.tag(&self.said);
            self.out.put_u32_le(self.said.len() as u32);
            self.out.unsplit(self.said.split());
            self.out.extend_from_slice(&tag);
        }
        let Self { reader, writer, out, inbox, .. } = self;
        if inbox.capacity() - inbox.len() < READ {
            inbox.reserve(READ);
        }
        let done = tokio::select! {
            biased;
            // Reading first: who only writes to somebody who only writes never ends.
            read = reader.read_buf(inbox) => read,
            wrote = writer.write_buf(out), if !out.is_empty() => wrote,
        };
        match done.map_err(WireError::Broken)? {
            0 => Err(WireError::Closed),
            _ => Ok(()),
        }
    }
}
