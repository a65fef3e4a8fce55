//! An instruction as JSON: `{"hold":{"mode","channels","timeout","keep-alive","meta"},"response":{…}}`.

use serde_json::Value;

use super::{Draft, InstructionError, mode};
use crate::grip::hold::Mode;
use crate::grip::keep_alive::{KeepAlive, Pace};
use crate::grip::member::Members;
use crate::grip::response::Response;
use crate::json;
use crate::limits::{INSTRUCTION_BYTES_MAX, KEEP_ALIVE_SECONDS_DEFAULT};

impl Draft {
    /// Takes the instruction in a body, which also stands for the response that it came in.
    pub(super) fn body(&mut self, body: &[u8]) -> Result<(), InstructionError> {
        if body.len() > INSTRUCTION_BYTES_MAX {
            return Err(InstructionError::LargeBody);
        }
        let mut members = Members::of(json::parse(body.to_vec())?, "instruct")?;
        if let Some(hold) = members.object("hold")? {
            self.hold_members(hold)?;
        }
        let response = members.object("response")?.map(Response::read).transpose()?;
        self.response = Some(response.unwrap_or_default());
        Ok(())
    }

    fn hold_members(&mut self, mut hold: Members) -> Result<(), InstructionError> {
        self.mode = match hold.text("mode")? {
            None => Some(Mode::Response),
            Some(text) => Some(mode(&text).ok_or(InstructionError::BodyHold)?),
        };
        let channels = hold.list("channels")?.ok_or_else(|| hold.missing("channels"))?;
        channels.into_iter().try_for_each(|channel| self.channel_members(channel))?;
        if let Some(seconds) = hold.unsigned("timeout")? {
            self.seconds = Some(seconds);
        }
        if let Some(keep_alive) = hold.object("keep-alive")? {
            self.keep_alive = read_keep_alive(keep_alive)?;
        }
        match hold.object("meta")? {
            Some(meta) => Ok(self.meta.set_all(meta)?),
            None => Ok(()),
        }
    }

    fn channel_members(&mut self, value: Value) -> Result<(), InstructionError> {
        let mut channel = Members::of(value, "channel")?;
        let name = channel.text("name")?.ok_or_else(|| channel.missing("name"))?;
        let prev_id = channel.text("prev-id")?;
        let filters = channel.text_list("filters")?.unwrap_or_default();
        self.channel(&name, prev_id.as_deref(), filters.iter().map(AsRef::as_ref))
    }
}

/// The body has no member for the pace, and what Pushpin makes of it is an interval.
fn read_keep_alive(mut members: Members) -> Result<Option<KeepAlive>, InstructionError> {
    let content = members.bytes("content", "content-bin")?.unwrap_or_default();
    let seconds = members.unsigned("timeout")?.unwrap_or(KEEP_ALIVE_SECONDS_DEFAULT);
    Ok(KeepAlive::new(content, Pace::Interval, seconds)?)
}
