-- Run once, when the server's volume is new; the database `catalog` is made by the image itself.
create database airflow;
create database api;
create database api_staging;
