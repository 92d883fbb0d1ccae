//! `sidestep status` and `sidestep detach`: what goes over the control socket.

use super::{DEGRADED, FAILURE, OK, fail};
use crate::control::{Request, Response, ask};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

pub(super) fn status(json: bool, socket: &Path) -> u8 {
    match ask(socket, &Request::Status) {
        Ok(Response::Status(status)) => {
            if json {
                println!("{status}");
            } else {
                print_status(&status);
            }
            match status["degraded"].as_array() {
                Some(all) if !all.is_empty() => DEGRADED,
                _ => OK,
            }
        }
        Ok(other) => fail(&format_args!("unexpected answer: {other:?}"), FAILURE),
        Err(e) => fail(&e, FAILURE),
    }
}

pub(super) fn detach(interface: String, socket: &Path) -> u8 {
    match ask(socket, &Request::Detach { interface }) {
        Ok(Response::Detaching) => OK,
        Ok(other) => fail(&format_args!("unexpected answer: {other:?}"), FAILURE),
        Err(e) => fail(&e, FAILURE),
    }
}

/// The status for people: the facts in lines, then every counter that is not zero.
fn print_status(status: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    println!("interface  {}", text(&status["interface"]));
    println!("mode       {}", text(&status["mode"]));
    for at in status["listening"].as_array().into_iter().flatten() {
        println!("listening  {}", text(at));
    }
    for trouble in status["degraded"].as_array().into_iter().flatten() {
        println!("degraded: {}", text(&trouble["text"]));
    }
    let store = &status["store"];
    println!(
        "store      {} objects, {} KiB, {} changed since, {} put, generation {}",
        store["objects"],
        store["bytes"].as_u64().unwrap_or(0) >> 10,
        store["overlay"],
        store["puts"],
        store["generation"]
    );
    for what in ["limit", "error"] {
        if let Some(why) = store["watching"][what].as_str() {
            println!("files      {why}");
        }
    }
    let reload = &store["reload"];
    if let Some(at) = reload["at"].as_u64() {
        let at = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(at));
        match reload["error"].as_str() {
            Some(error) => println!("reload     {at}: failed: {error}"),
            None => println!("reload     {at}: took {} ms", reload["took"]),
        }
    }
    for worker in status["workers"].as_array().into_iter().flatten() {
        println!(
            "queue {}    {} connections, {} requests, {} of {} frames free",
            worker["queue"],
            worker["connections"],
            worker["requests"],
            worker["frames"]["free"],
            worker["frames"]["total"]
        );
        for (name, labels) in worker["counters"].as_object().into_iter().flatten() {
            print_counters(name, labels);
        }
    }
    for route in status["routes"].as_array().into_iter().flatten() {
        let name = [text(&route["site"]), text(&route["route"])];
        println!("route      {}", name.join(" ").trim_start());
        print_counters("", &route["counts"]);
    }
    let proxied = &status["proxied"];
    if proxied["ended"]
        .as_object()
        .is_some_and(|ends| !ends.is_empty())
    {
        println!("proxied    {} connections", proxied["open"]);
        print_counters("ended", &proxied["ended"]);
    }
    print_counters("xdp", &status["xdp"]);
}

fn print_counters(name: &str, labels: &Value) {
    for (label, value) in labels.as_object().into_iter().flatten() {
        if value.as_u64() != Some(0) {
            println!("  {name:<14} {label:<24} {value}");
        }
    }
}
