// Where an endpoint is and what is asked of it there.
#pragma once

#include <string>
#include <vector>

#include "cai/config/config.hpp"

namespace cai {

struct EndpointAddress {
  std::string base;              // as given, without a slash at the end and without /chat/completions
  std::string chat, models;      // what is asked: BASE/chat/completions, BASE/models
  bool is_encrypted = false;     // https
  bool is_this_machine = false;  // the host is localhost or a loopback address
  bool has_version = false;      // the path ends with a version (/v1): most servers' does
};

/// Throws UsageError for anything but http:// or https:// with a host, and for an address with a password,
/// "?" or "#".
EndpointAddress endpoint_address(const std::string& url);

/// The addresses of `endpoint`: url, then urls, each once.
std::vector<EndpointAddress> endpoint_addresses(const EndpointConfig& endpoint);

/// The key, or "" where none is set. Throws UsageError for one that no header can hold.
std::string endpoint_key(const EndpointConfig& endpoint);

/// Where the key comes from, in words.
std::string key_source(const EndpointConfig& endpoint);

/// `text` with [key] in place of the key: a server may echo it, and it is never shown.
std::string without_key(std::string text, const std::string& key);

}  // namespace cai
