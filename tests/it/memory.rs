//! How much memory strangers can make the service take: little, and those who are known are answered meanwhile.
