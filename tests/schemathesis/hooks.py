"""What a schema cannot say of a request.

Schemathesis expects that whatever fits the schema is accepted. Some requests fit it and are refused all the same, for a
reason that lies in the database or in a currency's own rules: the answer is then 400 VALIDATION_FAILED, and each of its
errors has one of the codes below. A refusal with any other code is a finding.
"""

import schemathesis

BEYOND_THE_SCHEMA = {
    "fixed",  # the numbers of a retailer, for a token that is bound to it
    "foreign_currency",  # the retailer, the order or the payment has another
    "impossible_step",  # not from the status that the order has
    "more_than_owed",
    "more_than_paid",
    "retailer_needed",  # by a token that is not bound to one
    "taken",  # a phone number or an SKU
    "too_large",  # beyond what can be counted in minor units
    "too_many_decimals",  # for the currency: JPY has none, KWD three
    "unknown_product",
    "zero",
}


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Keeps a failure, unless it is such a refusal."""
    if type(failure).__name__ != "RejectedPositiveData" or response.status_code != 400:
        return True
    problem = response.json()
    codes = {error["code"] for error in problem.get("errors", [])}
    return problem["error_code"] != "VALIDATION_FAILED" or not codes <= BEYOND_THE_SCHEMA
