//! A task per connection, which waits for news and writes all that its connection lacks; on two runtimes, each of which has a
//! ring of its own.
//!
//! A task whose reader has gone ends; the readers say why they went.
//!
//! The news are the cheapest that can be had on one thread: a number, and the wakers of those who wait for it to grow. Neither
//! runtime counts references to what it writes.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};

use fantail_benches::fan::BATCH;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::{IoUringDriver, RuntimeBuilder};
use monoio_uring::IoUring;

use crate::hall::Hall;

/// What is published, and who waits for more.
#[derive(Default)]
struct News {
    published: Cell<usize>,
    is_over: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl News {
    fn publish(&self, bytes: usize) {
        self.published.set(self.published.get() + bytes);
        self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }

    fn end(&self) {
        self.is_over.set(true);
        self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }

    /// How far the log may be sent, once that is further than `cursor`; none at the end.
    async fn after(&self, cursor: usize) -> Option<usize> {
        poll_fn(|context| match self.published.get() {
            published if published > cursor => Poll::Ready(Some(published)),
            _ if self.is_over.get() => Poll::Ready(None),
            _ => {
                self.waiting.borrow_mut().push(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

/// Serves until the writer has gone, on a runtime that is set up as the server's.
pub(crate) fn serve_on_monoio(hall: Hall) -> io::Result<()> {
    let mut ring = IoUring::builder();
    ring.setup_coop_taskrun();
    let runtime = RuntimeBuilder::<IoUringDriver>::new().with_entries(BATCH as u32).uring_builder(ring).build();
    runtime?.block_on(async move {
        let (news, mut tasks) = (Rc::new(News::default()), Vec::new());
        for socket in hall.sockets {
            let mut socket = monoio::net::TcpStream::from_std(socket)?;
            let (news, log) = (Rc::clone(&news), hall.log);
            tasks.push(monoio::spawn(async move {
                let mut cursor = 0;
                while let Some(end) = news.after(cursor).await {
                    let (Ok(_), _) = socket.write_all(&log[cursor..end]).await else { return };
                    cursor = end;
                }
            }));
        }
        let mut writer = monoio::net::UnixStream::from_std(hall.writer)?;
        loop {
            match writer.read(vec![0; 64]).await.0? {
                0 => break,
                payloads => news.publish(payloads * hall.payload),
            }
        }
        news.end();
        for task in tasks {
            task.await;
        }
        // The runtime closes sockets by entries of its ring, which go to the kernel before this one.
        writer.read(vec![0]).await.0.map(drop)
    })
}

/// The same on the other runtime.
pub(crate) fn serve_on_tokio_uring(hall: Hall) -> io::Result<()> {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_coop_taskrun();
    tokio_uring::builder().entries(BATCH as u32).uring_builder(&ring).start(async move {
        let (news, mut tasks) = (Rc::new(News::default()), Vec::new());
        for socket in hall.sockets {
            let socket = tokio_uring::net::TcpStream::from_std(socket);
            let (news, log) = (Rc::clone(&news), hall.log);
            tasks.push(tokio_uring::spawn(async move {
                let mut cursor = 0;
                while let Some(end) = news.after(cursor).await {
                    let (Ok(()), _) = socket.write_all(&log[cursor..end]).await else { return };
                    cursor = end;
                }
            }));
        }
        let writer = tokio_uring::net::UnixStream::from_std(hall.writer);
        loop {
            match writer.read(vec![0; 64]).await.0? {
                0 => break,
                payloads => news.publish(payloads * hall.payload),
            }
        }
        news.end();
        for task in tasks {
            task.await.map_err(io::Error::other)?;
        }
        Ok(())
    })
}
