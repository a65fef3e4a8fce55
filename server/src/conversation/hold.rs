//! Origins' instructions to hold a connection, or to go on elsewhere.

use std::rc::Rc;

use fantail_engine::protocol::problem::Problem;

use super::Next;
use super::connection::{Connection, End};
use super::proxy::{self, Passing};
use crate::core::Core;
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
