//! Reading what sidestep and the kernel tell of themselves in a machine.

use serde_json::Value;

/// The queue of an AF_XDP socket and whether it is in zero-copy mode, in a line of `ss`: "umem(id:1,…,qid:1,zc:1,refs:1)".
pub fn umem(line: &str) -> Option<(u32, bool)> {
    let fields = line.trim().strip_prefix("umem(")?.strip_suffix(')')?;
    let field = |name: &str| {
        let mut pairs = fields.split(',').filter_map(|field| field.split_once(':'));
        pairs.find_map(|(key, value)| (key == name).then(|| value.parse::<u32>().ok())?)
    };
    Some((field("qid")?, field("zc")? == 1))
}

/// What sidestep says is not as good as it could be.
pub fn degraded(status: &Value) -> Vec<String> {
    let all = status["degraded"].as_array().into_iter().flatten();
    all.map(|trouble| trouble["reason"].as_str().unwrap_or("?").to_owned())
        .collect()
}

/// A counter, summed over the workers.
pub fn sum(status: &Value, name: &str, label: &str) -> u64 {
    let workers = status["workers"].as_array().into_iter().flatten();
    workers
        .filter_map(|worker| worker["counters"][name][label].as_u64())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::umem;

    #[test]
    fn the_kernels_word_on_a_socket_is_read() {
        let line = "\tumem(id:0,size:8388608,num_pages:2048,chunk_size:4096,headroom:0,ifindex:2,qid:3,zc:1,refs:1)";
        assert_eq!(umem(line), Some((3, true)));
        assert_eq!(umem(&line.replace("zc:1", "zc:0")), Some((3, false)));
        assert_eq!(umem("\tfr(entries:1024)"), None);
    }
}
