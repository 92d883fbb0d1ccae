//! A worker that hangs.

use super::{By, CONFIG, PONG, ask, client};
use sidestep_tests::clock::{PATIENCE, wait_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::freeze::Frozen;
use sidestep_tests::http::Client;
use sidestep_tests::net::Plan;
use sidestep_tests::server::Server;
use std::time::Duration;

/// New connections until each of the two queues has some, with a chance of failure below one in a million: the client
/// spreads them by a hash.
const MANY: usize = 24;

/// Longest until a worker that hangs is known to: 20 looks, a second or more apart.
const NOTICED: Duration = Duration::from_secs(60);

#[test]
fn the_queue_of_a_worker_that_hangs_is_the_kernels_until_it_goes_on() {
    let net = Plan::new().queues(2).build();
    let _server = Server::http(&net.server, 80, PONG);
    let daemon = Daemon::start(&net.server, CONFIG);
    let open = || -> Vec<Client> {
        let to = net.server.addresses(80).into_iter().cycle().take(MANY);
        to.map(|to| client(&net, to).expect("connects")).collect()
    };
    let mut before = open();
    for client in &mut before {
        assert_eq!(ask(client, "/ping").expect("answered"), By::Sidestep);
    }
    let per_queue = daemon.connections();
    assert!(per_queue.iter().all(|&n| n > 0), "{per_queue:?}");

    let frozen = Frozen::thread(daemon.id(), "queue-0");
    wait_for(NOTICED, "the hanging worker is noticed", || {
        (daemon.degraded() == ["worker_hangs"]).then_some(())
    });
    let text = daemon.control(&["status"]);
    assert_eq!(text.code(), 3);
    assert!(text.stdout.contains("degraded: the worker of queue 0"));
    // Nobody answers for its connections; the other's are as before, and new ones are the kernel's.
    let answers: Vec<_> = before.iter_mut().map(|c| ask(c, "/ping")).collect();
    let right = answers.iter().filter_map(|answer| answer.as_ref().ok());
    assert!(right.clone().all(|by| *by == By::Sidestep), "{answers:?}");
    assert_eq!(right.count() as u64, per_queue[1], "{answers:?}");
    let mut during = open();
    let by: Vec<_> = during
        .iter_mut()
        .map(|client| ask(client, "/ping").expect("answered"))
        .collect();
    assert!(by.contains(&By::Kernel) && by.contains(&By::Sidestep));

    drop(frozen);
    wait_for(PATIENCE, "the worker is seen to go on", || {
        daemon.degraded().is_empty().then_some(())
    });
    // What the kernel took is still its own.
    for (client, by) in during.iter_mut().zip(&by) {
        assert_eq!(ask(client, "/ping").expect("answered"), *by);
    }
    let requests = daemon.requests();
    let mut after = open();
    for client in &mut after {
        assert_eq!(ask(client, "/ping").expect("answered"), By::Sidestep);
    }
    assert!(daemon.requests()[0] > requests[0], "its queue is served");
    daemon.audit();

    // A daemon whose worker hangs goes all the same.
    let frozen = Frozen::thread(daemon.id(), "queue-1");
    daemon.terminate();
    wait_for(2 * PATIENCE, "it ends", || daemon.is_over().then_some(()));
    assert_eq!(net.server.xdp_program(), None);
    for client in &mut open() {
        assert_eq!(ask(client, "/ping").expect("answered"), By::Kernel);
    }
    drop(frozen);
    let ended = daemon.gone();
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("hang"), "{}", ended.stderr);
}
