// One HTTP request by libcurl, bounded in what it takes in. Answers are hostile input.
#pragma once

#include <curl/curl.h>

#include <memory>
#include <string>

#include "cai/config/config.hpp"
#include "cai/feedback/endpoint_address.hpp"

namespace cai {

struct FreeEasy {
  void operator()(CURL* c) const { curl_easy_cleanup(c); }
};
struct FreeList {
  void operator()(curl_slist* l) const { curl_slist_free_all(l); }
};

/// What came back of one request.
struct HttpAnswer {
  long status = 0;          // 0: there was no answer
  std::string body;         // at most 16 MB
  std::string retry_after;  // the header's value
  std::string problem;      // why there is no whole answer, or ""
  bool is_too_large = false;
  bool is_untrusted = false;  // the server's certificate is not trusted
};

/// A request that is being made: its handle and what has come in so far. Must stay where it is while curl
/// works on it.
class HttpRequest {
 public:
  /// A POST of `body`, which must outlive the request, or with null a GET. `key` is sent as a bearer token
  /// unless it is empty. Proxies are taken from the environment as curl does, but this machine is always
  /// asked directly.
  HttpRequest(const EndpointConfig& config, const EndpointAddress& address, const std::string& url,
              const std::string& key, const std::string* body);
  HttpRequest(const HttpRequest&) = delete;
  HttpRequest& operator=(const HttpRequest&) = delete;

  CURL* handle() const { return handle_.get(); }

  /// What came back, when curl is done with it and says `result`.
  HttpAnswer answer(CURLcode result);

 private:
  static std::size_t take_body(char* data, std::size_t size, std::size_t count, void* user);
  static std::size_t take_header(char* data, std::size_t size, std::size_t count, void* user);

  std::unique_ptr<CURL, FreeEasy> handle_;
  std::unique_ptr<curl_slist, FreeList> headers_;
  HttpAnswer answer_;
  std::size_t header_bytes_ = 0;
  char words_[CURL_ERROR_SIZE] = {};
};

/// Starts libcurl, once a process. Throws EnvironmentError.
void start_curl();

/// Makes one request and waits for it, at most `seconds`.
HttpAnswer http_request(EndpointConfig config, const EndpointAddress& address, const std::string& url,
                        const std::string& key, const std::string* body, double seconds);

}  // namespace cai
