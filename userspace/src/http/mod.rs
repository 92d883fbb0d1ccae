//! HTTP/1.1 request heads: borrowed bytes in, `Complete | Partial | Invalid` out.
