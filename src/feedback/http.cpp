#include "cai/feedback/http.hpp"

#include <algorithm>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"

namespace cai {
namespace {

constexpr std::size_t kLargestAnswer = 16 << 20,
                      kLargestHeaders = 1 << 20;  // bytes; a chat answer is a few thousand

}  // namespace

void start_curl() {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (ready != CURLE_OK) throw EnvironmentError("libcurl does not start");
}

std::size_t HttpRequest::take_body(char* data, std::size_t size, std::size_t count, void* user) {
  HttpAnswer& answer = static_cast<HttpRequest*>(user)->answer_;
  if (answer.body.size() + size * count > kLargestAnswer) {
    answer.is_too_large = true;
    return 0;
  }
  answer.body.append(data, size * count);
  return size * count;
}

std::size_t HttpRequest::take_header(char* data, std::size_t size, std::size_t count, void* user) {
  HttpRequest& request = *static_cast<HttpRequest*>(user);
  request.header_bytes_ += size * count;
  if (request.header_bytes_ > kLargestHeaders) {  // a server could send headers for ever
    request.answer_.is_too_large = true;
    return 0;
  }
  const std::string line(data, size * count);
  if (lower_ascii(line.substr(0, 12)) == "retry-after:") request.answer_.retry_after = trim(line.substr(12));
  return size * count;
}

HttpRequest::HttpRequest(const EndpointConfig& config, const EndpointAddress& address, const std::string& url,
                         const std::string& key, const std::string* body) {
  start_curl();
  handle_.reset(curl_easy_init());
  CURL* c = handle_.get();
  if (!c) throw EnvironmentError("libcurl does not start");
  headers_.reset(curl_slist_append(nullptr, "Content-Type: application/json"));
  if (!key.empty()) curl_slist_append(headers_.get(), ("Authorization: Bearer " + key).c_str());
  curl_easy_setopt(c, CURLOPT_URL, url.c_str());
  curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
  if (address.is_this_machine) curl_easy_setopt(c, CURLOPT_NOPROXY, "*");  // else curl reads NO_PROXY itself
  curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers_.get());
  if (body) {
    curl_easy_setopt(c, CURLOPT_POST, 1L);
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, body->c_str());
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body->size()));
  }
  curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, static_cast<long>(1000 * config.timeout_seconds));
  if (!config.ca_file.empty()) curl_easy_setopt(c, CURLOPT_CAINFO, config.ca_file.c_str());
  curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt(c, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, take_header);
  curl_easy_setopt(c, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(c, CURLOPT_ERRORBUFFER, words_);
}

HttpAnswer HttpRequest::answer(CURLcode result) {
  curl_easy_getinfo(handle_.get(), CURLINFO_RESPONSE_CODE, &answer_.status);
  answer_.is_untrusted = result == CURLE_PEER_FAILED_VERIFICATION || result == CURLE_SSL_CACERT_BADFILE;
  if (answer_.is_too_large)
    answer_.problem = "the answer is larger than " + std::to_string(kLargestAnswer >> 20) + " MB";
  else if (result != CURLE_OK)
    answer_.problem = words_[0] ? words_ : curl_easy_strerror(result);
  handle_.reset();
  return std::move(answer_);
}

HttpAnswer http_request(EndpointConfig config, const EndpointAddress& address, const std::string& url,
                        const std::string& key, const std::string* body, double seconds) {
  config.timeout_seconds = std::min(config.timeout_seconds, seconds);
  HttpRequest request(config, address, url, key, body);
  const CURLcode result = curl_easy_perform(request.handle());
  return request.answer(result);
}

}  // namespace cai
