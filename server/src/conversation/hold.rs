//! Origins' instructions to hold a connection, or to go on elsewhere; and what becomes of held connections whose origin is to be
//! asked: those that come back from the audience, and those that only need somebody to look.

use std::rc::Rc;

use fantail_engine::protocol::problem::Problem;

use super::Next;
use super::connection::{Connection, End};
use super::proxy::{self, Passing};
use crate::audience::{Asking, Hold, Recalled};
use crate::core::Core;
use crate::core::holding::Returned;
use crate::origin::Link;

/// Takes over from [`proxy`], with a response that is an instruction: its head and its body are still unread in the link.
pub(super) async fn begin(
    core: &Rc<Core>,
    connection: Connection,
    passing: Passing,
    link: Link,
) -> Result<(Next, Connection), End> {
    drop(link);
    let problem = Problem::not_implemented("the origin wants this connection held, which this version doesn't do yet");
    proxy::refuse(core, connection, &passing, problem).await
}

/// A connection is a conversation again, for as long as `returned` lives. It is closed, so that its client comes back to the
/// origin.
pub(crate) fn resume(_core: &Rc<Core>, recalled: Recalled, returned: Returned) {
    tracing::debug!(why = ?recalled.why, mark = ?recalled.mark, "a held connection is closed");
    drop((recalled, returned));
}

/// The time-out of a next link is over for these: if its answer says that nothing is new, they stay where they are.
pub(crate) fn ask(core: &Rc<Core>, asking: Asking) {
    core.recall_all(&asking);
}

/// A client has gone whose origin wants to know.
pub(crate) fn departed(_core: &Rc<Core>, hold: Hold) {
    tracing::debug!(gone = hold.gone.as_deref(), "a client of a held connection has gone");
}
