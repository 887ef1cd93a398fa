#include "cai/feedback/endpoint_address.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/file.hpp"

namespace cai {
namespace {

struct FreeUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};

std::string part_of(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, 0) != CURLUE_OK || !text) return "";
  const std::string copy = text;
  curl_free(text);
  return copy;
}

bool is_loopback(const std::string& host) {
  if (host == "localhost" || host.ends_with(".localhost") || host == "[::1]") return true;
  const std::vector<std::string> parts = split(host, '.');
  const auto is_number = [](const std::string& part) {
    return !part.empty() && part.size() <= 3 && part.find_first_not_of("0123456789") == part.npos;
  };
  return parts.size() == 4 && parts.front() == "127" && std::all_of(parts.begin(), parts.end(), is_number);
}

bool ends_with_version(const std::string& base) {
  const std::string last = base.substr(base.rfind('/') + 1);
  return last.size() > 1 && last[0] == 'v' && last[1] >= '0' && last[1] <= '9';
}

}  // namespace

EndpointAddress endpoint_address(const std::string& url) {
  // A password in the address would be written to config.yaml and shown in messages; it is not shown here
  // either.
  if (url.find('@') != std::string::npos)
    throw UsageError(
        "endpoint.url: holds a user name or password; the key comes from endpoint.key_variable or "
        "endpoint.key_file");
  if (url.find_first_of("?#") != std::string::npos)
    throw UsageError("endpoint.url: holds \"?\" or \"#\"; accepted: http://host:port/v1 or https://...");
  const std::unique_ptr<CURLU, FreeUrl> parsed(curl_url());
  if (!parsed) throw EnvironmentError("libcurl does not start");
  const bool is_url = curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) == CURLUE_OK;
  const std::string scheme = is_url ? part_of(parsed.get(), CURLUPART_SCHEME) : "",
                    host = lower_ascii(part_of(parsed.get(), CURLUPART_HOST));
  if ((scheme != "http" && scheme != "https") || host.empty())
    throw UsageError("endpoint.url: " + in_quotes(url) + "; accepted: http://host:port/v1 or https://...");
  EndpointAddress address{
      .base = url, .is_encrypted = scheme == "https", .is_this_machine = is_loopback(host)};
  const auto trim_slashes = [&] { address.base.erase(address.base.find_last_not_of('/') + 1); };
  trim_slashes();
  constexpr std::string_view kChat = "/chat/completions";
  if (address.base.ends_with(kChat)) address.base.erase(address.base.size() - kChat.size());
  trim_slashes();
  address.chat = address.base + std::string(kChat);
  address.models = address.base + "/models";
  address.has_version = ends_with_version(address.base);
  return address;
}

std::vector<EndpointAddress> endpoint_addresses(const EndpointConfig& endpoint) {
  std::vector<EndpointAddress> all{endpoint_address(endpoint.url)};
  for (const std::string& url : endpoint.urls) {
    EndpointAddress one = endpoint_address(url);
    if (std::none_of(all.begin(), all.end(),
                     [&](const EndpointAddress& other) { return other.chat == one.chat; }))
      all.push_back(std::move(one));
  }
  return all;
}

std::string key_source(const EndpointConfig& endpoint) {
  return endpoint.key_file.empty() ? "the environment variable " + endpoint.key_variable : endpoint.key_file;
}

std::string endpoint_key(const EndpointConfig& endpoint) {
  std::string key;
  if (!endpoint.key_file.empty())
    key = trim(read_file(endpoint.key_file));
  else if (const char* value = std::getenv(endpoint.key_variable.c_str()))
    key = trim(value);
  if (std::any_of(key.begin(), key.end(), [](unsigned char c) { return c < 0x21 || c > 0x7e; }))
    throw UsageError(key_source(endpoint) + " holds characters that no key has");
  return key;
}

std::string without_key(std::string text, const std::string& key) {
  if (key.empty()) return text;
  for (std::size_t at = 0; (at = text.find(key, at)) != text.npos; at += 5)
    text.replace(at, key.size(), "[key]");
  return text;
}

bool is_endpoint(const std::string& judge) {
  const std::string begin = lower_ascii(judge.substr(0, 8));
  return begin.starts_with("http://") || begin == "https://";
}

void check_endpoint(const EndpointConfig& endpoint) {
  endpoint_addresses(endpoint);
  for (const std::string& file : {endpoint.key_file, endpoint.ca_file})
    if (!file.empty() && !std::filesystem::is_regular_file(file))
      throw UsageError("endpoint: no such file: " + file);
}

}  // namespace cai
